"""Describe results as a research object (RO-Crate): what ran, by what, from what; copy the workflow beside them."""

from pathlib import Path

from replicortex.asking import add_configuration
from replicortex.job import parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    project = Path(__file__).resolve().parents[1]
    arguments.add_argument("--project", type=Path, default=project, help="folder of the Snakefile")
    add_configuration(arguments)
    arguments.add_argument("--out", type=Path, required=True, help="ro-crate-metadata.json to write, in the results")
    arguments.add_argument("--workflow", type=Path, required=True, help="folder to write the workflow to, beside it")
    arguments.add_argument("--snakemake", required=True, help="version of Snakemake that ran")
    given = parse(arguments)
    from replicortex.stages.provenance import describe_results

    describe_results(**given)


run(main)
