# A published dataset is fetched by its name: on the machine that runs Snakemake, never on a compute node.


# With the user's git, its access and settings, and therefore not in a container. Not an output: the dataset itself,
# so that what is there stays where a job is interrupted, and a further one fetches the difference.
rule fetch_dataset:
    output:
        "results/datasets/{dataset}/fetched.json",
    log:
        "logs/fetch_dataset/{dataset}.log",
    wildcard_constraints:
        dataset=PATTERNS.fetched(),
    localrule: True
    conda:
        "../envs/base.yaml"
    container:
        None
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=2880,
    params:
        script=script("fetch_dataset"),
        url=lambda wildcards: CARDS.published(wildcards.dataset)["url"],
        version=lambda wildcards: CARDS.published(wildcards.dataset)["version"],
        wanted=lambda wildcards: as_json(CARDS.wanted(wildcards.dataset)),
        root=root_of,
        code=lambda wildcards: code("fetch", family="base"),
    shell:
        "python {params.script:q} {params.url:q} {params.version:q} {params.root:q} --wanted {params.wanted:q}"
        " --record {output:q} --code {params.code} > {log:q} 2>&1"
