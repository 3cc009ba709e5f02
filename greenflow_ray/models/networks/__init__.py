"""The paper's four architectures, and what they share."""
