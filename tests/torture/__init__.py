"""The journal under torture: killed, unplugged, lied to, filled up and damaged, with the proof of acceptance kept outside."""
