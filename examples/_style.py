"""What the pictures of the examples share: colours, size, and the folder that they go to."""

import argparse
import pathlib

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

# Colours that stay apart for colour-blind readers, and in grey: Okabe and Ito, "Color Universal
# Design", 2008, https://jfly.uni-koeln.de/color/
BLUE, ORANGE, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
GREY = "0.45"

pyplot.rcParams.update(
    {
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.w_pad": 0.1,
        "figure.constrained_layout.h_pad": 0.1,
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.alpha": 0.3,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
    }
)


def panels(*widths, height=3.8, rows=1):
    """Make a figure of panels, their widths and the height of each in inches; give it and its axes.

    With several rows there are as many panels in each.
    """
    size = (sum(widths), rows * height)
    return pyplot.subplots(rows, len(widths), figsize=size, width_ratios=widths)


def save(figure, folder, name):
    """Write a picture, of the same bytes for the same drawing, and say where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.png"
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
    return path


def run(main, text):
    """Run an example from the command line: its picture goes to the folder that is named."""
    parser = argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--folder",
        type=pathlib.Path,
        default=pathlib.Path(__file__).parent / "pictures",
        help="where the picture goes (default: %(default)s)",
    )
    main(parser.parse_args().folder)
