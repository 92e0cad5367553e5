# Who is held out when, and the targets of each variant: written down before anything is fitted.


rule make_splits:
    input:
        features=run_features,
        participants=lambda wildcards: RUNS[wildcards.run].table_of(wildcards.variant, "participants"),
    output:
        splits="results/runs/{run}/{variant}/splits.tsv",
        targets="results/runs/{run}/{variant}/targets.tsv",
    log:
        "logs/make_splits/{run}/{variant}.log",
    benchmark:
        "results/benchmarks/make_splits/{run}/{variant}.tsv"
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=lasts(5),
    params:
        script=script("make_splits"),
        features=run_bundles,
        schemes=lambda wildcards: as_json(RUNS[wildcards.run].schemes(wildcards.variant)),
        classes=lambda wildcards: as_json(evaluation(wildcards).get("classes", [])),
        task=lambda wildcards: evaluation(wildcards)["task"],
        target=lambda wildcards: ["--target", *RUNS[wildcards.run].target] if RUNS[wildcards.run].target else [],
        covariates=lambda wildcards: as_json(evaluation(wildcards)["covariates"]),
        variables=lambda wildcards: as_json(CARDS.dataset(RUNS[wildcards.run].dataset).get("variables", {})),
        exchangeable=lambda wildcards: as_json(evaluation(wildcards)["exchangeable"]),
        exchange=lambda wildcards: evaluation(wildcards)["exchange"],
        seed=CARDS.config["seed"],
        code=lambda wildcards: code(
            "splits",
            *(f"splitters.{name}" for name in evaluation(wildcards)["schemes"]),
        ),
    shell:
        "python {params.script:q} --features {params.features:q} --splits {output.splits:q}"
        " --targets {output.targets:q} --schemes {params.schemes:q} --classes {params.classes:q}"
        " --exchangeable {params.exchangeable:q} --exchange {params.exchange} --variant {wildcards.variant} --seed {params.seed}"
        " --participants {input.participants:q} --variables {params.variables:q} --task {params.task}"
        " {params.target:q} --covariates {params.covariates:q} --code {params.code} > {log:q} 2>&1"
