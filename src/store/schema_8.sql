-- The night: how calls of a plan end when the client sleeps, and what the server lets be heard. Plans from before have neither: they
-- get what is customary for their kind (call::Night, call::Sounds).

ALTER TABLE plan ADD COLUMN night TEXT CHECK (
    night IS NULL OR (json_valid(night)
        AND sold ->> '$.kind' = 'until_asleep'
        AND night ->> '$.linger_s' BETWEEN 0 AND 3600
        AND night ->> '$.fade_s' BETWEEN 10 AND 300
        AND coalesce(night ->> '$.probe_s', 180) BETWEEN 1 AND 3600));

ALTER TABLE plan ADD COLUMN sounds TEXT CHECK (
    sounds IS NULL OR (json_valid(sounds)
        AND coalesce(sounds ->> '$.chime_dbfs', -30) BETWEEN -60 AND -10
        AND (sounds ->> '$.waiting') IN (0, 1)));

CREATE TRIGGER plan_with_sounds BEFORE INSERT ON plan
    WHEN NEW.sounds IS NULL OR (NEW.night IS NULL) <> (NEW.sold ->> '$.kind' <> 'until_asleep')
    BEGIN SELECT RAISE(ABORT, 'a plan says how its calls sound and how they end at night'); END;
