# What was run, by what, from what: a research object of the results.


# With the records of the driver, the user's git, and the files of the images: not in a container.
rule describe_results:
    input:
        all_told,
    output:
        crate="results/ro-crate-metadata.json",
        readme="results/README.md",
        workflow=directory("results/workflow"),
    log:
        "logs/describe_results.log",
    benchmark:
        "results/benchmarks/describe_results.tsv"
    localrule: True
    conda:
        "../envs/signal.yaml"
    container:
        None
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=lasts(30),
    params:
        script=script("describe_results"),
        project=os.path.relpath(BASE),
        # A function, since what it holds may look like wildcards.
        configuration=lambda wildcards: as_json(config),
        version=snakemake.__version__,
        code=lambda wildcards: code("provenance"),
    shell:
        "python {params.script:q} --project {params.project:q} --configuration {params.configuration:q}"
        " --out {output.crate:q} --workflow {output.workflow:q} --snakemake {params.version:q}"
        " --code {params.code} > {log:q} 2>&1"
