//! Worker threads beside the media plane: what is heard, faded, played and recorded.
