"""The live node: everything that needs rclpy or ROS messages is in this folder, and nowhere else."""
