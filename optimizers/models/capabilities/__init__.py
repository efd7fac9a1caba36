"""The eight model actions, one file each: trigger, proposal, effect, verification, undo.

With `models.driver: watch` the flow `watch_models` carries the life-cycle, and benchmark, A/B test,
promotion, retraining and rollback find nothing here; update, deployment and retirement always do.
"""
