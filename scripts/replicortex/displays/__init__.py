"""What preprocessing gave, at a glance: a file a modality, called ``<modality>_group.py``."""
