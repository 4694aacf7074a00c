"""A small language model of one's own, that answers from one's own documents: composed by Hydra."""

__version__ = "0.1.0"
