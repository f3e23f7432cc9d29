"""What every other room stands on: devices, processes, memory, files, and words to the user."""
