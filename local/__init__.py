"""What runs the application on a laptop: the local AWS, its Rekognition, and the commands around them."""
