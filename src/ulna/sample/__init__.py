"""Data of the sample. "The data used in this project was obtained from mocap.cs.cmu.edu.
The database was created with funding from NSF EIA-0196217." Free for all uses; not to be resold by itself."""
