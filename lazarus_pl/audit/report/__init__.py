"""The audit as files: JSON for programs, a page and Markdown for people."""
