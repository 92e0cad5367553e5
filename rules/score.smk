# Predictions to scores, scores to verdicts. The only rules that read a truth.


rule check_leaks:
    input:
        records=run_fits("fit.json"),
        splits="results/runs/{run}/{variant}/splits.tsv",
        targets="results/runs/{run}/{variant}/targets.tsv",
    output:
        "results/runs/{run}/{variant}/guard.json",
    log:
        "logs/check_leaks/{run}/{variant}.log",
    benchmark:
        "results/benchmarks/check_leaks/{run}/{variant}.tsv"
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=lasts(5),
    params:
        script=script("check_leaks"),
        records=shortly("records"),
        schemes=lambda wildcards: as_json(RUNS[wildcards.run].schemes(wildcards.variant)),
        code=lambda wildcards: code(
            "guard",
            *(f"splitters.{name}" for name in evaluation(wildcards)["schemes"]),
        ),
    shell:
        "python {params.script:q} --records {params.records:q} --splits {input.splits:q}"
        " --targets {input.targets:q} --schemes {params.schemes:q} --report {output:q}"
        " --code {params.code} > {log:q} 2>&1"


rule score_predictions:
    input:
        fits=run_fits("fit.json", scored=True),
        # Predictions count through fit.json, which holds their digest: touching them changes nothing.
        predictions=ancient(run_fits("predictions.npz", scored=True)),
        targets="results/runs/{run}/{variant}/targets.tsv",
        guard="results/runs/{run}/{variant}/guard.json",
        truth=lambda wildcards: truth_of(wildcards.run, wildcards.variant),
    output:
        "results/runs/{run}/{variant}/scores.tsv",
    log:
        "logs/score_predictions/{run}/{variant}.log",
    benchmark:
        "results/benchmarks/score_predictions/{run}/{variant}.tsv"
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=lasts(5),
    params:
        script=script("score_predictions"),
        fits=shortly("fits"),
        predictions=shortly("predictions"),
        metrics=lambda wildcards: as_json(evaluation(wildcards)["metrics"]),
        task=lambda wildcards: evaluation(wildcards)["task"],
        group=lambda wildcards: "--group" if RUNS[wildcards.run].scored_together else "",
        truth=lambda wildcards, input: ["--truth", input.truth] if input.truth else [],
        code=lambda wildcards: code("score", *(f"metrics.{name}" for name in evaluation(wildcards)["metrics"])),
    shell:
        "python {params.script:q} --fits {params.fits:q} --predictions {params.predictions:q}"
        " --targets {input.targets:q} --out {output:q} --metrics {params.metrics:q} --run {wildcards.run}"
        " --variant {wildcards.variant} {params.truth:q} --task {params.task} {params.group}"
        " --code {params.code} > {log:q} 2>&1"


rule summarize_run:
    input:
        run_scores,
    output:
        scores="results/runs/{run}/scores.tsv",
        summary="results/runs/{run}/summary.tsv",
    log:
        "logs/summarize_run/{run}.log",
    benchmark:
        "results/benchmarks/summarize_run/{run}.tsv"
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=lasts(5),
    params:
        script=script("summarize_run"),
        code=lambda wildcards: code("summarize"),
    shell:
        "python {params.script:q} --scores {input:q} --out-scores {output.scores:q}"
        " --out-summary {output.summary:q} --code {params.code} > {log:q} 2>&1"


# No verdict on a dataset that the validator rejects, or with parameters that a component refuses. Both are scheduled
# first, so that they fail early. They are inputs here and not of the stages between, because whatever depends on them
# runs again when they do; as `ancient` inputs they would do worse: when the producer of an ancient input runs again,
# Snakemake 9.27 does not look for other changes of the jobs behind it.
rule judge_claims:
    input:
        gates=run_gates,
        scores="results/runs/{run}/scores.tsv",
        truth=lambda wildcards: truth_of(wildcards.run, "observed"),
        folds=scores_of_networks,
    output:
        "results/runs/{run}/claims.json",
    log:
        "logs/judge_claims/{run}.log",
    benchmark:
        "results/benchmarks/judge_claims/{run}.tsv"
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=lasts(5),
    params:
        script=script("judge_claims"),
        card=lambda wildcards: as_json(RUNS[wildcards.run].for_claims),
        truth=lambda wildcards, input: ["--truth", input.truth] if input.truth else [],
        folds=lambda wildcards, input: ["--folds", *compact(input.folds)] if input.folds else [],
        code=lambda wildcards: code("claims", *(f"splitters.{name}" for name in evaluation(wildcards)["schemes"])),
    shell:
        "python {params.script:q} --card {params.card:q} --scores {input.scores:q} --out {output:q}"
        " {params.truth:q} {params.folds:q} --code {params.code} > {log:q} 2>&1"


rule collect_claims:
    input:
        expand("results/runs/{run}/claims.json", run=RUNS),
    output:
        report(
            "results/claims.tsv",
            caption="captions/claims.rst",
            category="Verdicts",
            labels={"table": "all claims, all variants"},
        ),
    log:
        "logs/collect_claims.log",
    benchmark:
        "results/benchmarks/collect_claims.tsv"
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=lasts(5),
    params:
        script=script("collect_claims"),
        code=lambda wildcards: code("claims"),
    shell:
        "python {params.script:q} --documents {input:q} --out {output:q} --code {params.code}" " > {log:q} 2>&1"
