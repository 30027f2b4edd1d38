"""What a conversation is: pure values, standard library only.

Where it is kept is `history`'s business.
"""
