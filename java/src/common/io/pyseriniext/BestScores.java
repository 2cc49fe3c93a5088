package io.pyseriniext;

import java.io.IOException;
import java.util.Arrays;
import org.apache.lucene.search.LeafCollector;
import org.apache.lucene.search.Scorable;

/**
 * The best k documents by score, and all others that score as the last of them: who asks for the
 * smallest docids among equal scores then needs no second search.
 *
 * <p>Lucene's own collector skips documents that tie with its last hit, and it counts a thousand
 * hits before it skips any.
 */
final class BestScores implements LeafCollector {
  private final int k;
  private float[] scores; // a heap, the least first
  private int[] docs;
  private int size;
  private int[] tied = new int[16];
  private int ties;
  private float least = Float.NEGATIVE_INFINITY; // of the heap, once it is full
  private int base;
  private Scorable scorer;

  /** @param k at least 1 */
  BestScores(int k) {
    this.k = k;
    scores = new float[Math.min(k, 1024)];
    docs = new int[scores.length];
  }

  void leaf(int base) {
    this.base = base;
  }

  @Override
  public void setScorer(Scorable scorer) throws IOException {
    this.scorer = scorer;
    if (size == k) {
      scorer.setMinCompetitiveScore(least);
    }
  }

  @Override
  public void collect(int doc) throws IOException {
    if (offer(doc, scorer.score())) {
      scorer.setMinCompetitiveScore(least);
    }
  }

  /** Returns what a sum has to reach so that, as a float32, it may be kept. */
  double least() {
    return Math.nextDown(least);
  }

  /** Takes a document of the segment; returns whether fewer documents are wanted after that. */
  boolean offer(int doc, float score) {
    if (size < k) {
      return grow(base + doc, score);
    }
    if (score > least) {
      int out = docs[0];
      down(base + doc, score);
      if (scores[0] > least) {
        ties = 0;
        least = scores[0];
        return true;
      }
      tie(out);
    } else if (score == least) {
      tie(base + doc);
    }
    return false;
  }

  /** Returns the documents, in no order: the best k and those that tie with the last. */
  int[] docs() {
    int[] all = Arrays.copyOf(docs, size + ties);
    System.arraycopy(tied, 0, all, size, ties);
    return all;
  }

  /** Returns their scores. */
  float[] scores() {
    float[] all = Arrays.copyOf(scores, size + ties);
    Arrays.fill(all, size, all.length, least);
    return all;
  }

  private boolean grow(int doc, float score) {
    if (size == scores.length) {
      int larger = (int) Math.min(k, 2L * size + 16);
      scores = Arrays.copyOf(scores, larger);
      docs = Arrays.copyOf(docs, larger);
    }
    int at = size++;
    for (int parent; at > 0 && scores[parent = (at - 1) / 2] > score; at = parent) {
      scores[at] = scores[parent];
      docs[at] = docs[parent];
    }
    scores[at] = score;
    docs[at] = doc;
    if (size == k) {
      least = scores[0];
    }
    return size == k;
  }

  /** Puts a document in the place of the least. */
  private void down(int doc, float score) {
    int at = 0;
    for (int child; (child = 2 * at + 1) < size; at = child) {
      if (child + 1 < size && scores[child + 1] < scores[child]) {
        child++;
      }
      if (scores[child] >= score) {
        break;
      }
      scores[at] = scores[child];
      docs[at] = docs[child];
    }
    scores[at] = score;
    docs[at] = doc;
  }

  private void tie(int doc) {
    if (ties == tied.length) {
      tied = Arrays.copyOf(tied, 2 * ties);
    }
    tied[ties++] = doc;
  }
}
