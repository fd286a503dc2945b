"""Catheter and line position on chest X-rays: the science and the record, without Kubeflow."""
