-- A vendor's events by time: which are young enough to be sent again is found without a walk through all there ever were.
CREATE INDEX event_by_time ON event (vendor, at);
