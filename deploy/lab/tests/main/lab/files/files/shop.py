"""Says what its configuration said when it was started."""
import pathlib
import signal

print(pathlib.Path("config/shop.conf").read_text(), flush=True)
signal.pause()
