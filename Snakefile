# From BIDS datasets to the figures and verdicts of papers. config/config.yaml says which.

from snakemake.utils import min_version

min_version("9.27")


configfile: f"{workflow.basedir}/config/config.yaml"


report: "rules/captions/workflow.rst"


include: "rules/common.smk"
include: "rules/resources.smk"
include: "rules/lines.smk"
include: "rules/dataset.smk"
include: "rules/check.smk"
include: "rules/preprocess.smk"
include: "rules/stimuli.smk"
include: "rules/features.smk"
include: "rules/splits.smk"
include: "rules/fit.smk"
include: "rules/score.smk"
include: "rules/told.smk"
include: "rules/figures.smk"
include: "rules/displays.smk"
include: "rules/text.smk"
include: "rules/provenance.smk"
include: "rules/report.smk"
include: "rules/asking.smk"
include: "rules/targets.smk"


rule all:
    default_target: True
    input:
        "results/claims.tsv",
        "results/status.tsv",
        "results/site",
        "results/ro-crate-metadata.json",
        all_figures,
        all_quality,
        all_displays,
        all_texts,


rule site:
    input:
        "results/site",


rule preprocess:
    input:
        all_blocks("preprocessed"),


rule quality:
    input:
        all_quality,
        all_displays,


rule features:
    input:
        all_blocks("features"),


rule scores:
    input:
        expand("results/runs/{run}/summary.tsv", run=RUNS),


remember_signatures(workflow.rules)


onerror:
    print("\nWhat went wrong:", *failures(Path("logs"), STARTED), sep="\n  ", file=sys.stderr)
