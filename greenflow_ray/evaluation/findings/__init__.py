"""What the scored decisions say: answers, claims met or missed, and the document that holds them."""
