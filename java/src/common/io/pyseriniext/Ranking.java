package io.pyseriniext;

import io.anserini.index.Constants;
import java.io.IOException;
import java.util.Arrays;
import java.util.List;
import org.apache.lucene.index.LeafReaderContext;
import org.apache.lucene.index.ReaderUtil;
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
   * and Anserini then reads a stored document for every hit. Here Lucene sorts by score alone and
   * only the docids of the k hits, and of those that tie with the last, are read. That is complete
   * unless there are more ties than the spare hits; then, and only then, Lucene sorts by docid after
   * all.
   *
   * @param spare hits to retrieve beyond k, at least 1; more where scores tie often
   */
  static Hits top(IndexSearcher searcher, Documents documents, Query query, int k, int spare)
      throws IOException {
    int wanted = (int) Math.min((long) k + spare, Integer.MAX_VALUE);
    ScoreDoc[] best = searcher.search(query, wanted).scoreDocs;
    int count = Math.min(k, best.length); // with those that tie with the last
    while (count > 0 && count < best.length && best[count].score == best[k - 1].score) {
      count++;
    }
    if (count == wanted && count > k) {
      return sorted(searcher, query, k);
    }
    int[] docs = new int[count];
    float[] scores = new float[count];
    for (int i = 0; i < count; i++) {
      docs[i] = best[i].doc;
      scores[i] = best[i].score;
    }
    BytesRef[] docids = documents.docids(docs);
    for (int start = 0, end; start < count; start = end) {
      for (end = start + 1; end < count && scores[end] == scores[start]; end++) {}
      Arrays.sort(docids, start, end);
    }
    return count <= k
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
