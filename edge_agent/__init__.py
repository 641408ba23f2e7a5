"""The edge agent: watches one RT's street cameras beside its NVR and never shows a home."""

__version__ = "0.1.0"
