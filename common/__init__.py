"""What every server needs: names, configuration, commands, starting and stopping."""
