"""Fit one method on its share of a run's folds and predict the held-out rows."""

from pathlib import Path

from replicortex.job import Paths, json_value, parse, parser, run


def main():
    """Parse the arguments and call the stage."""
    arguments = parser(__doc__)
    arguments.add_argument("--features", action=Paths, nargs="+", required=True, help="feature bundles")
    arguments.add_argument("--splits", type=Path, required=True, help="table of folds")
    arguments.add_argument("--targets", type=Path, required=True, help="table of targets")
    arguments.add_argument("--predictions", type=Path, required=True, help="predictions to write")
    arguments.add_argument("--models", type=Path, required=True, help="fitted models to write")
    arguments.add_argument("--record", type=Path, required=True, help="record of the fits to write")
    arguments.add_argument("--name", required=True, help="name of the method in the study")
    arguments.add_argument("--method", required=True, help="component of the method")
    arguments.add_argument("--params", type=json_value, required=True, help="parameters of the method, as JSON")
    arguments.add_argument("--variant", required=True, help="variant of the run")
    arguments.add_argument("--part", required=True, help="share of the folds, such as 0of4")
    arguments.add_argument("--seed", type=int, required=True, help="seed of the fit")
    arguments.add_argument("--task", default="classify", help="what the methods do, such as classify")
    arguments.add_argument("--dataset", default="", help="name of the dataset, for the model card")
    arguments.add_argument("--parent", type=Path, nargs=2, help="models and record of the method to start from")
    arguments.add_argument("--observed", type=Path, nargs=2, help="models and record of the method on observed targets")
    arguments.add_argument("--untrained", action="store_true", help="leave the networks as they are initialised")
    arguments.add_argument("--stimuli", type=Path, help="bundle of what was shown")
    arguments.add_argument("--training", type=Path, help="folder for the checkpoints and logs of training")
    arguments.add_argument("--gpus", type=int, default=0, help="GPUs to hold; the processor where there is none")
    given = parse(arguments)
    from replicortex.stages.fit import fit

    fit(**given)


run(main)
