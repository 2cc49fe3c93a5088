package io.pyseriniext;

import io.anserini.index.Constants;
import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.ReaderUtil;
import org.apache.lucene.search.BulkScorer;
import org.apache.lucene.search.DocIdSetIterator;
import org.apache.lucene.search.FieldDoc;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.ScoreDoc;
import org.apache.lucene.search.ScoreMode;
import org.apache.lucene.search.Scorer;
import org.apache.lucene.search.ScorerSupplier;
import org.apache.lucene.search.Sort;
import org.apache.lucene.search.SortField;
import org.apache.lucene.search.Weight;
import org.apache.lucene.util.BytesRef;

/** The best documents of a query by score, then docid, and the scores of given documents. */
final class Ranking {
  /** Anserini's order of equal scores. */
  private static final Sort BY_SCORE_THEN_DOCID =
      new Sort(SortField.FIELD_SCORE, new SortField(Constants.ID, SortField.Type.STRING_VAL));

  private Ranking() {}

  /**
   * Returns the best k documents.
   *
   * <p>Sorting by docid inside Lucene reads a docid for every document that ever enters the queue,
   * and Anserini then reads a stored document for every hit. Here the docids of the k hits, and of
   * those that tie with the last, are read when all scores are known.
   */
  static Hits top(IndexSearcher searcher, Documents documents, Query query, int k)
      throws IOException {
    BestScores best = new BestScores(Math.min(k, documents.maxDoc()));
    Weight weight = searcher.createWeight(searcher.rewrite(query), ScoreMode.TOP_SCORES, 1);
    for (LeafReaderContext leaf : searcher.getIndexReader().leaves()) {
      BulkScorer scorer = weight.bulkScorer(leaf);
      if (scorer != null) {
        best.leaf(leaf.docBase);
        scorer.score(best, leaf.reader().getLiveDocs(), 0, DocIdSetIterator.NO_MORE_DOCS);
      }
    }
    return ranked(documents, best, k);
  }

  /** Returns the best k documents of those that were kept, with docids. */
  static Hits ranked(Documents documents, BestScores best, int k) throws IOException {
    BytesRef[] found = documents.docids(best.docs());
    float[] values = best.scores();
    long[] order = new long[values.length];
    for (int i = 0; i < order.length; i++) {
      // No score is negative, so that their bits are ordered as they are.
      order[i] = ((long) ~Float.floatToIntBits(values[i]) << 32) | i;
    }
    Arrays.sort(order);
    BytesRef[] docids = new BytesRef[order.length];
    float[] scores = new float[order.length];
    for (int i = 0; i < order.length; i++) {
      docids[i] = found[(int) order[i]];
      scores[i] = values[(int) order[i]];
    }
    for (int start = 0, end; start < docids.length; start = end) {
      for (end = start + 1; end < docids.length && scores[end] == scores[start]; end++) {}
      if (end > start + 1) {
        Arrays.sort(docids, start, end);
      }
    }
    return docids.length <= k
        ? new Hits(docids, scores)
        : new Hits(Arrays.copyOf(docids, k), Arrays.copyOf(scores, k));
  }

  /** Returns the best k documents as sorted by Lucene itself, docids included. */
  static Hits sorted(IndexSearcher searcher, Query query, int k) throws IOException {
    ScoreDoc[] best = searcher.search(query, k, BY_SCORE_THEN_DOCID).scoreDocs;
    BytesRef[] docids = new BytesRef[best.length];
    float[] scores = new float[best.length];
    for (int i = 0; i < best.length; i++) {
      Object[] fields = ((FieldDoc) best[i]).fields;
      scores[i] = (Float) fields[0];
      docids[i] = (BytesRef) fields[1];
    }
    return new Hits(docids, scores);
  }

  /** Returns the score of each document, 0 where it does not match the query, NaN for no document. */
  static float[] scores(IndexSearcher searcher, Query query, int[] docs) throws IOException {
    float[] scores = new float[docs.length];
    Weight weight = searcher.createWeight(searcher.rewrite(query), ScoreMode.COMPLETE, 1);
    List<LeafReaderContext> leaves = searcher.getIndexReader().leaves();
    Scorer scorer = null;
    int base = 0;
    int end = -1;
    for (long packed : Documents.sorted(docs)) {
      int doc = (int) (packed >>> 32);
      if (doc < 0) {
        scores[(int) packed] = Float.NaN;
        continue;
      }
      if (doc >= end) {
        LeafReaderContext leaf = leaves.get(ReaderUtil.subIndex(doc, leaves));
        base = leaf.docBase;
        end = base + leaf.reader().maxDoc();
        ScorerSupplier supplier = weight.scorerSupplier(leaf);
        scorer = supplier == null ? null : supplier.get(1);
      }
      if (scorer != null) {
        DocIdSetIterator matches = scorer.iterator();
        if (matches.docID() < doc - base) {
          matches.advance(doc - base);
        }
        if (matches.docID() == doc - base) {
          scores[(int) packed] = scorer.score();
        }
      }
    }
    return scores;
  }
}
