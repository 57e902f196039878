"""Entropy is the smallest average code length, cross-entropy the price of the wrong code.

To write down which of k things happened, give each a word of 0s and 1s, none of which begins
another. If thing i happens with probability p_i and its word has l_i bits, a record takes Σ p_i l_i
bits on average. Shannon showed that no such code needs less than the entropy,

    H(p) = -Σ p_i log2 p_i,

and that a good one needs less than H(p) + 1; Huffman showed how to find the best one: put the two
rarest things together, again and again. A word of l bits suits a probability of 2^-l. So a code
made for probabilities q, but used where p is true, takes the cross-entropy instead,

    H(p, q) = -Σ p_i log2 q_i = H(p) + KL(p || q) bits,

exactly so where all q are powers of 1/2. A classifier that is trained by cross-entropy is charged
for the code that its probabilities stand for.

Shannon, "A mathematical theory of communication", 1948,
https://doi.org/10.1002/j.1538-7305.1948.tb01338.x; Huffman, "A method for the construction of
minimum-redundancy codes", 1952, https://doi.org/10.1109/JRPROC.1952.273898

    python -m pip install ".[examples]"
    python examples/entropy_and_codes.py
"""

import heapq
import itertools

import _style
import numpy as np

import fastce

WEATHER = ("sun", "cloud", "rain", "snow")
HERE = np.array([1 / 2, 1 / 4, 1 / 8, 1 / 8])
ELSEWHERE = {
    "made for here": HERE,
    "all alike": np.full(4, 1 / 4),
    "cloud and sun\nexchanged": HERE[[1, 0, 2, 3]],
    "made for\nthe north": HERE[::-1],
}


def huffman(p):
    """Give the best code for probabilities p: a list of words of 0s and 1s."""
    words = [""] * len(p)
    heap = [(p_i, i, [i]) for i, p_i in enumerate(p)]
    heapq.heapify(heap)
    while len(heap) > 1:
        (p_0, tie, rarest), (p_1, _, next_rarest) = heapq.heappop(heap), heapq.heappop(heap)
        for digit, members in (("0", next_rarest), ("1", rarest)):
            for i in members:
                words[i] = digit + words[i]
        heapq.heappush(heap, (p_0 + p_1, tie, rarest + next_rarest))
    return words


def mean_length(words, p):
    """Give the average length of a word, in bits."""
    return float(np.dot(p, [len(word) for word in words]))


def encode(record, words):
    """Write a record of things, each a number, in 0s and 1s."""
    return "".join(words[i] for i in record)


def decode(bits, words):
    """Read it again: no word begins another, so the first that fits is meant."""
    meaning = {word: i for i, word in enumerate(words)}
    record, word = [], ""
    for bit in bits:
        word += bit
        if word in meaning:
            record.append(meaning[word])
            word = ""
    return record


def cross_entropy_in_bits(p, q):
    """Give -Σ p log2 q, from nats."""
    return float(fastce.categorical_cross_entropy(q, p) / np.log(2))


def extra_bits(p, q):
    """Give the Kullback-Leibler divergence of q from p, in bits."""
    return float(fastce.kl_divergence(np.log(q), p) / np.log(2))


def bits_a_thing(p, block):
    """Give the average length for one thing if so many together get a word."""
    together = [np.prod(pick) for pick in itertools.product(p, repeat=block)]
    return mean_length(huffman(together), together) / block


def draw(lengths, entropies, coin, blocks, per_toss):
    """Draw the bounds, what longer blocks do, and what wrong codes cost."""
    figure, (left, middle, right) = _style.panels(4.0, 4.0, 4.4, height=4.2)
    ends = np.array([0, 4.2])
    left.fill_between(ends, ends, ends + 1, color=_style.GREY, alpha=0.15, linewidth=0)
    left.plot(entropies, lengths, ".", color=_style.BLUE, markersize=4)
    left.plot(ends, ends, color="black", linewidth=1)
    left.text(2.6, 2.3, "H", ha="left")
    left.text(2.4, 3.6, "H + 1", ha="right")
    left.set(
        title="Huffman codes for random p",
        xlabel="entropy H(p), bits",
        ylabel="average length of a word, bits",
    )

    entropy = fastce.entropy(coin, base=2)
    bound = entropy + 1 / blocks
    middle.fill_between(blocks, entropy, bound, color=_style.GREY, alpha=0.15, linewidth=0)
    middle.plot(blocks, per_toss, "o-", color=_style.BLUE, markersize=4, label="Huffman code")
    middle.axhline(entropy, color="black", linewidth=1, label=f"entropy, {entropy:.3f} bits")
    middle.set(
        title=f"A coin of {coin[0]:.0%} heads, tossed often",
        xlabel="tosses that share a word",
        ylabel="bits for a toss",
        ylim=(0, 1.6),
        xticks=blocks[::2],
    )
    middle.legend(loc="upper right")

    own = fastce.entropy(HERE, base=2)
    rows = np.arange(len(ELSEWHERE))
    extras = [extra_bits(HERE, q) for q in ELSEWHERE.values()]
    right.barh(rows, own, 0.55, color=_style.BLUE, label="entropy H(p)")
    right.barh(rows, extras, 0.55, left=own, color=_style.ORANGE, label="extra, KL(p || q)")
    real = [mean_length(huffman(q), HERE) for q in ELSEWHERE.values()]
    right.plot(real, rows, "D", color="black", markersize=5, label="length of the real code")
    right.set(
        title="The price of the wrong code",
        xlabel="bits for a day's weather",
        yticks=rows,
        yticklabels=list(ELSEWHERE),
        xlim=(0, 3),
        ylim=(len(rows) + 0.45, -0.6),
    )
    right.legend(loc="lower right")
    for axes, which in ((left, "both"), (middle, "both"), (right, "x")):
        axes.grid(axis=which)
        axes.set_axisbelow(True)
    return figure


def main(folder):
    """Tell the story and write its picture."""
    words = huffman(HERE)
    days = zip(WEATHER, HERE, words, strict=True)
    print("days of", ", ".join(f"{kind} {p:.1%}: {word}" for kind, p, word in days))
    print(f"average {mean_length(words, HERE)} bits, entropy {fastce.entropy(HERE, base=2)} bits")

    rng = np.random.default_rng(0)
    days = rng.choice(len(HERE), size=10_000, p=HERE)
    bits = encode(days, words)
    print(f"{len(days)} days take {len(bits)} bits, and are read back", end=" ")
    print("rightly" if decode(bits, words) == days.tolist() else "wrongly")

    for name, q in ELSEWHERE.items():
        price = mean_length(huffman(q), HERE)
        print(
            f"code {' '.join(name.split())}: {price} bits, cross-entropy "
            f"{cross_entropy_in_bits(HERE, q):.3f} = {price - extra_bits(HERE, q):.3f} + "
            f"{extra_bits(HERE, q):.3f}"
        )

    drawn = [rng.dirichlet(np.full(k, 0.7)) for k in rng.integers(2, 21, size=400)]
    lengths = np.array([mean_length(huffman(p), p) for p in drawn])
    entropies = np.array([fastce.entropy(p, base=2) for p in drawn])
    over = lengths - entropies
    print(f"{len(drawn)} random p: codes take {over.min():.4f} to {over.max():.4f} bits", end=" ")
    print("more than the entropy")

    coin, blocks = np.array([0.9, 0.1]), np.arange(1, 10)
    per_toss = [bits_a_thing(coin, block) for block in blocks]
    print(f"a coin of entropy {fastce.entropy(coin, base=2):.4f} bits takes", end=" ")
    print(f"{per_toss[0]:.0f} bit a toss, but {per_toss[-1]:.4f} where {blocks[-1]} share a word")
    figure = draw(lengths, entropies, coin, blocks, per_toss)
    print("picture:", _style.save(figure, folder, "entropy_and_codes").name)


if __name__ == "__main__":
    _style.run(main, __doc__)
