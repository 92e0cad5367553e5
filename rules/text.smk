# The words of a paper: the Methods section of every run, with citations.


rule write_methods:
    input:
        checks=lambda wildcards: [
            f"results/runs/{wildcards.run}/checks/{family}.json" for family in RUNS[wildcards.run].families
        ],
        validation=observed_dataset("validation.json"),
        participants=observed_dataset("participants.tsv"),
        manifests=observed_blocks("preprocessed"),
        features=observed_blocks("features"),
        splits=observed("splits.tsv"),
        targets=observed("targets.tsv"),
        claims="results/runs/{run}/claims.json",
    output:
        text="results/runs/{run}/methods.md",
        page="results/runs/{run}/methods.html",
        references="results/runs/{run}/references.bib",
    log:
        "logs/write_methods/{run}.log",
    benchmark:
        "results/benchmarks/write_methods/{run}.tsv"
    conda:
        "../envs/signal.yaml"
    container:
        CONTAINERS["signal"]
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=lasts(5),
    params:
        script=script("write_methods"),
        card=lambda wildcards: as_json(told(wildcards)),
        manifests=shortly("manifests"),
        features=shortly("features"),
        # Not on the command line: an edit of the bibliography is a changed job.
        bibliography=refuse(code_digest, [], [SCRIPTS / "replicortex" / "data" / "references.bib"]),
        code=lambda wildcards: code("methods_text"),
    shell:
        "python {params.script:q} --card {params.card:q} --checks {input.checks:q}"
        " --validation {input.validation:q} --participants {input.participants:q}"
        " --manifests {params.manifests:q} --features {params.features:q} --splits {input.splits:q}"
        " --targets {input.targets:q} --claims {input.claims:q} --out {output.text:q} --page {output.page:q}"
        " --references {output.references:q} --code {params.code} > {log:q} 2>&1"
