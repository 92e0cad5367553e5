# Fit one method on a share of a run's folds and predict the held-out rows. One derived rule an environment.


rule fit:
    input:
        splits="results/runs/{run}/{variant}/splits.tsv",
        targets="results/runs/{run}/{variant}/targets.tsv",
        status=run_features("tsv"),
        features=ancient(run_features("npz")),
    output:
        predictions="results/runs/{run}/{variant}/{method}/seed-{seed}_part-{part}/predictions.npz",
        models="results/runs/{run}/{variant}/{method}/seed-{seed}_part-{part}/models.zip",
        record="results/runs/{run}/{variant}/{method}/seed-{seed}_part-{part}/fit.json",
    log:
        "logs/fit/{run}/{variant}/{method}/seed-{seed}_part-{part}.log",
    benchmark:
        "results/benchmarks/fit/{run}/{variant}/{method}/seed-{seed}_part-{part}.tsv"
    wildcard_constraints:
        method=PATTERNS.methods_in("signal"),
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: of_method("threads", 1)
    resources:
        mem_mb=of_method("mem_mb", 4000),
        runtime=of_method("runtime", 240),
    params:
        script=script("fit"),
        task=lambda wildcards: evaluation(wildcards)["task"],
        component=lambda wildcards: method_card(wildcards)["component"],
        settings=lambda wildcards: as_json(method_card(wildcards)["params"]),
        code=lambda wildcards: code(
            "fit",
            f"methods.{method_card(wildcards)['component']}",
            family=method_card(wildcards)["family"],
        ),
    shell:
        "python {params.script:q} --features {input.features:q} --splits {input.splits:q}"
        " --targets {input.targets:q} --predictions {output.predictions:q} --models {output.models:q}"
        " --record {output.record:q} --name {wildcards.method} --method {params.component:q}"
        " --params {params.settings:q} --variant {wildcards.variant} --part {wildcards.part}"
        " --seed {wildcards.seed} --task {params.task} --code {params.code} > {log:q} 2>&1"


use rule fit as fit_torch with:
    wildcard_constraints:
        method=PATTERNS.methods_in("torch"),
    conda:
        "../envs/torch.yaml"
    container:
        CONTAINERS["torch"]
    threads: of_method("threads", 4)
    resources:
        mem_mb=of_method("mem_mb", 16000),
        runtime=of_method("runtime", 480),
        gpu=of_method("gpu", 1),
