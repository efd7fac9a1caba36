"""Targets: systems that are observed and, through named knobs, changed; one file each."""
