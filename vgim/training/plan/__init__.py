"""What a training would be, before it starts: its steps, time, money, memory, and what it does in its folder."""
