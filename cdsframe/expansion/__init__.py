"""Says a question in more words before it is searched, by whatever retriever."""
