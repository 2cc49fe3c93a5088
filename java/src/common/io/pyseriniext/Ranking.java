package io.pyseriniext;

import io.anserini.index.Constants;
import java.io.IOException;
import java.util.Arrays;
import java.util.Comparator;
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
    int[] kept = best.docs();
    BytesRef[] found = documents.docids(kept);
    float[] values = best.scores();
    long[] order = new long[values.length];
    for (int i = 0; i < order.length; i++) {
      // No score is negative, so that their bits are ordered as they are.
      order[i] = ((long) ~Float.floatToIntBits(values[i]) << 32) | i;
    }
    Arrays.sort(order);
    for (int start = 0, end; start < order.length; start = end) {
      float score = values[(int) order[start]];
      for (end = start + 1; end < order.length && values[(int) order[end]] == score; end++) {}
      if (end > start + 1) {
        sortByDocid(order, start, end, found);
      }
    }
    int count = Math.min(k, order.length);
    BytesRef[] docids = new BytesRef[count];
    int[] docs = new int[count];
    float[] scores = new float[count];
    for (int i = 0; i < count; i++) {
      int place = (int) order[i];
      docids[i] = found[place];
      docs[i] = kept[place];
      scores[i] = values[place];
    }
    return new Hits(docids, docs, scores);
  }

  private static void sortByDocid(long[] order, int start, int end, BytesRef[] docids) {
    if (end - start > 32) {
      Long[] tied = new Long[end - start];
      Arrays.setAll(tied, i -> order[start + i]);
      Arrays.sort(tied, Comparator.comparing(packed -> docids[packed.intValue()]));
      for (int i = 0; i < tied.length; i++) {
        order[start + i] = tied[i];
      }
      return;
    }
    // Impacts tie often, but few at a time.
    for (int i = start + 1; i < end; i++) {
      long moved = order[i];
      BytesRef docid = docids[(int) moved];
      int place = i;
      for (; place > start && docids[(int) order[place - 1]].compareTo(docid) > 0; place--) {
        order[place] = order[place - 1];
      }
      order[place] = moved;
    }
  }

  /** Returns the best k documents as sorted by Lucene itself, docids included. */
  static Hits sorted(IndexSearcher searcher, Query query, int k) throws IOException {
    ScoreDoc[] best = searcher.search(query, k, BY_SCORE_THEN_DOCID).scoreDocs;
    BytesRef[] docids = new BytesRef[best.length];
    int[] docs = new int[best.length];
    float[] scores = new float[best.length];
    for (int i = 0; i < best.length; i++) {
      Object[] fields = ((FieldDoc) best[i]).fields;
      docs[i] = best[i].doc;
      scores[i] = (Float) fields[0];
      docids[i] = (BytesRef) fields[1];
    }
    return new Hits(docids, docs, scores);
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
