"""Shard folders made of others, without decoding audio: joined, split anew, or a part of one."""
