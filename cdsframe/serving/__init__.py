"""Faces of a pipeline: over HTTP with the OpenAI API and a page (`http`)."""
