"""Generators: in this process (`transformers`), on an OpenAI-compatible engine (`openai`), none, a test double."""
