"""ABX discriminability of phones: is a token nearer to another of its phone than to one of another phone?"""
