"""What ``import switchrecon`` gives, for programs and notebooks."""
