"""Write the Methods section of a run, with its references, from what was really done."""

from pathlib import Path

from replicortex.job import Paths, json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--card", type=json_value, required=True, help="what the cards say of the run, as JSON")
    arguments.add_argument("--checks", action=Paths, nargs="+", required=True, help="resolved cards, one a family")
    arguments.add_argument("--validation", type=Path, required=True, help="summary of the BIDS validator")
    arguments.add_argument("--manifests", action=Paths, nargs="+", required=True, help="tables of preprocessed blocks")
    arguments.add_argument(
        "--features", action=Paths, nargs="+", required=True, help="tables of the blocks of features"
    )
    arguments.add_argument("--splits", type=Path, required=True, help="folds of the observed variant")
    arguments.add_argument("--targets", type=Path, required=True, help="targets of the observed variant")
    arguments.add_argument("--participants", type=Path, required=True, help="participants.tsv of the dataset")
    arguments.add_argument("--claims", type=Path, required=True, help="judged claims")
    arguments.add_argument("--out", type=Path, required=True, help="methods.md to write")
    arguments.add_argument("--page", type=Path, required=True, help="methods.html to write, a fragment")
    arguments.add_argument("--references", type=Path, required=True, help="references.bib to write")
    given = parse(arguments)
    from replicortex.stages.methods_text import write_methods

    write_methods(**given)


run(main)
