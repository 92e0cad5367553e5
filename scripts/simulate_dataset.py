"""Simulate a BIDS dataset; what was planted in it is written outside it."""

from pathlib import Path

from replicortex.job import json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--simulator", required=True, help="component of the simulator")
    arguments.add_argument("--params", type=json_value, required=True, help="its parameters, as JSON")
    arguments.add_argument(
        "--truth", choices=["planted", "absent"], default="planted", help="whether the effect is there"
    )
    arguments.add_argument("--seed", type=int, default=0, help="seed of the simulation")
    arguments.add_argument("--bids", type=Path, required=True, help="folder of the dataset to write")
    arguments.add_argument("--truth-path", type=Path, required=True, help="file to write what was planted to")
    given = parse(arguments)
    from replicortex.stages.simulate import simulate_dataset

    simulate_dataset(**given)


run(main)
