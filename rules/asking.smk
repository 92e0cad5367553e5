# What the targets for people share: how they call their command.


def engines():
    """The engines that this run would use. Snakemake names its executor only once the rules are read."""
    found = [method.name.lower() for method in workflow.deployment_settings.deployment_method]
    found += [workflow.executor_plugin.name] if workflow.executor_plugin is not None else []
    return sorted({"apptainer", "conda", "slurm"} & set(found))


def own_python(wildcards):
    """No environment: the Python that runs Snakemake, which these commands start and look at."""
    return None


def asking(name, options=list):
    """Params function: a command over the configuration of this run, as the words of a command line.

    A function, since a configuration may hold what looks like wildcards.
    """
    fixed = ["python", script(name), "--project", os.path.relpath(BASE)]
    return lambda wildcards: [*fixed, "--configuration", as_json(config), *options()]
