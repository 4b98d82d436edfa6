"""The main job, end to end: from an archive on "tape" to a Z peak, on one machine."""
