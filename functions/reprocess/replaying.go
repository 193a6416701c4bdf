package reprocess

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/footfall/footfall/shared/event"
	"github.com/footfall/footfall/shared/replay"
	"github.com/footfall/footfall/shared/revision"
	"github.com/footfall/footfall/shared/store"
)

// planReplay cuts the archive's files of the job's range into shards.
func (s *Service) planReplay(ctx context.Context, j *revision.Job) (int, error) {
	shards, _, err := s.cover(ctx, j)
	return shards, err
}

// replayed ends the phase when no file has come since it was planned: one that a
// dead writer left, or that several were merged into.
func (s *Service) replayed(ctx context.Context, j *revision.Job) (bool, error) {
	shards, more, err := s.cover(ctx, j)
	if err != nil {
		return false, err
	}
	if more {
		phaseOf(j).Shards = shards
		return true, nil
	}
	if err := s.problems(ctx, j); err != nil {
		return false, err
	}
	s.to(j, revision.Building)
	return true, nil
}

// cover sees to it that every complete file of the job's hours stands in a
// shard. Shards that are there stay as they are, whoever put them: two that plan
// at the same time both find all files covered in the end. It returns how many
// there are, and whether there are more than before.
func (s *Service) cover(ctx context.Context, j *revision.Job) (shards int, more bool, err error) {
	// A batch stands under the hour in which it was opened; its id is from the
	// same moment, by and large.
	from, to := event.HourOf(j.From)-1, event.HourOf(j.Cut)+2
	asking, cancel := s.call(ctx)
	files, err := s.Archive.List(asking, from, to)
	cancel()
	if err != nil {
		return 0, false, fmt.Errorf("cannot list the archive: %w", err)
	}
	for {
		covered := map[string]bool{}
		shards = 0
		if err := s.eachShard(ctx, j.Revision, revision.Replaying, func(sh *revision.Shard) error {
			for _, path := range sh.Files {
				covered[path] = true
			}
			shards = sh.Index + 1
			return nil
		}); err != nil {
			return 0, false, err
		}
		missing := s.cutFiles(j, files, covered, shards)
		if len(missing) == 0 {
			return shards, more, nil
		}
		more = true
		if last := missing[len(missing)-1].Index; last >= replay.MaxShards {
			return 0, false, errTooMany(last)
		}
		for from := 0; from < len(missing); from += shardsPage {
			if err := s.putShards(ctx, missing[from:min(from+shardsPage, len(missing))]); err != nil {
				return 0, false, err
			}
		}
	}
}

// cutFiles makes shards of files that none has, which begin at an index.
func (s *Service) cutFiles(j *revision.Job, files []store.ArchiveFile, covered map[string]bool, index int) (shards []revision.Shard) {
	for _, f := range files {
		if !f.Complete || covered[f.Path] {
			continue
		}
		last := len(shards) - 1
		if last < 0 || shards[last].Bytes+f.Bytes > s.cfg.ShardBytes || len(shards[last].Files) == filesAtMost {
			last++
			shards = append(shards, revision.Shard{Revision: j.Revision, Phase: revision.Replaying, Index: index + last})
		}
		shards[last].Files = append(shards[last].Files, f.Path)
		shards[last].Bytes += f.Bytes
	}
	return shards
}

// filesAtMost bounds a shard's size in the store.
const filesAtMost = 1000

// replayShard replays a shard's files.
func (s *Service) replayShard(ctx context.Context, j *revision.Job, sh *revision.Shard) error {
	task := replay.Shard{Revision: j.Revision, Index: sh.Index, From: j.From.UnixMilli(), To: j.Cut.UnixMilli(), Files: sh.Files}
	if len(j.Merchants) > 0 {
		task.Covers = j.Covers
	}
	tries, err := s.tries(ctx, j, sh)
	if err != nil {
		return err
	}
	task.Lenient = tries >= s.cfg.ReadTries-1
	done, err := s.replay.Do(ctx, task)
	var unread *replay.ReadError
	if errors.As(err, &unread) {
		return errors.Join(err, s.putPart(context.WithoutCancel(ctx), j.Revision, triesPart(sh), strconv.AppendInt(nil, int64(tries+1), 10)))
	}
	if err != nil {
		return err
	}
	sh.Counts, sh.Problems, sh.Attempts = done.Counts, done.Problems, tries+1
	return nil
}

// triesPart holds how often a shard has met a file that could not be read.
func triesPart(sh *revision.Shard) string { return fmt.Sprintf("tries/%06d", sh.Index) }

func (s *Service) tries(ctx context.Context, j *revision.Job, sh *revision.Shard) (int, error) {
	parts, err := s.parts(ctx, j.Revision, triesPart(sh), "", 1)
	if err != nil || len(parts) == 0 {
		return 0, err
	}
	return strconv.Atoi(string(parts[0].Data))
}
