# Fit one method on a share of a run's folds and predict the held-out rows. One derived rule an environment.

from replicortex.gpu import n_slots

# Here, as many jobs with a GPU at a time as there are devices: more would only wait. A cluster counts its own.
if workflow.is_main_process and workflow.local_exec and "gpu" not in workflow.global_resources:
    families = {method["family"] for run in RUNS.values() for method in run.methods.values()}
    if "torch" in families and (n_devices := n_slots()) is not None:
        workflow.register_resource("gpu", n_devices)


# On a cluster, these fits may share a job (config/profiles/slurm); those that take long may not.
rule fit:
    input:
        splits="results/runs/{run}/{variant}/splits.tsv",
        targets="results/runs/{run}/{variant}/targets.tsv",
        features=run_features,
        parent=of_parent,
        observed=of_observed,
        stimuli=run_stimuli,
    output:
        predictions="results/runs/{run}/{variant}/{method}/seed-{seed}_part-{part}/predictions.npz",
        models="results/runs/{run}/{variant}/{method}/seed-{seed}_part-{part}/models.zip",
        record="results/runs/{run}/{variant}/{method}/seed-{seed}_part-{part}/fit.json",
    log:
        "logs/fit/{run}/{variant}/{method}/seed-{seed}_part-{part}.log",
    benchmark:
        "results/benchmarks/fit/{run}/{variant}/{method}/seed-{seed}_part-{part}.tsv"
    wildcard_constraints:
        method=PATTERNS.methods_in("signal", long=False),
    priority: waited_for
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: of_method("threads", 1)
    resources:
        mem_mb=of_method("mem_mb", 4000),
        runtime=of_method("runtime", 10),
        gpu=0,
    params:
        script=script("fit"),
        features=run_bundles,
        parent=lambda wildcards, input: ["--parent", *input.parent] if input.parent else [],
        observed=lambda wildcards, input: ["--observed", *input.observed] if input.observed else [],
        stimuli=lambda wildcards, input: ["--stimuli", *input.stimuli] if input.stimuli else [],
        training="logs/fit/{run}/{variant}/{method}/seed-{seed}_part-{part}",
        dataset=lambda wildcards: RUNS[wildcards.run].dataset_of(wildcards.variant),
        untrained=lambda wildcards: ["--untrained"] if is_untrained(wildcards) else [],
        task=lambda wildcards: evaluation(wildcards)["task"],
        component=lambda wildcards: method_card(wildcards)["component"],
        settings=lambda wildcards: as_json(method_card(wildcards)["params"]),
        code=lambda wildcards: code(
            "fit",
            # That it starts from one means that models of that are read.
            *(f"methods.{card['component']}" for card in line_of(wildcards)),
            *(
                f"explainers.{card['params']['explainer']}"
                for card in line_of(wildcards)
                if "explainer" in card["params"]
            ),
            family=method_card(wildcards)["family"],
        ),
    shell:
        "python {params.script:q} --features {params.features:q} --splits {input.splits:q}"
        " --targets {input.targets:q} --predictions {output.predictions:q} --models {output.models:q}"
        " --record {output.record:q} --name {wildcards.method} --method {params.component:q}"
        " --params {params.settings:q} --variant {wildcards.variant} --part {wildcards.part}"
        " --seed {wildcards.seed} --task {params.task} --dataset {params.dataset} --training {params.training:q}"
        " {params.parent:q} {params.observed:q} {params.stimuli:q} {params.untrained:q} --gpus {resources.gpu}"
        " --code {params.code} > {log:q} 2>&1"


use rule fit as fit_long with:
    wildcard_constraints:
        method=PATTERNS.methods_in("signal", long=True),


use rule fit as fit_torch with:
    wildcard_constraints:
        method=PATTERNS.methods_in("torch"),
    conda:
        "../envs/torch.yaml"
    container:
        CONTAINERS["torch"]
    # One: networks train on one thread of the processor, for results that are the same everywhere.
    threads: of_method("threads", 1)
    resources:
        mem_mb=of_method("mem_mb", 16000),
        runtime=of_method("runtime", 60),
        gpu=of_method("gpu", 1),
