"""Generators: in this process (`transformers`), on any OpenAI-compatible engine (`openai`), or none at all (`none`)."""
