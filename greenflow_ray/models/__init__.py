"""What scores items: DSSM, YoutubeDNN, DIN, DIEN; their FLOPs, training and artifacts."""
