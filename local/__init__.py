"""What runs the application on a laptop: the embedded AWS, its Rekognition, and the commands around them."""
