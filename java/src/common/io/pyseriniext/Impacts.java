package io.pyseriniext;

import io.anserini.index.Constants;
import io.anserini.search.similarity.ImpactSimilarity;
import java.io.Closeable;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Arrays;
import org.apache.lucene.index.SegmentInfos;
import org.apache.lucene.index.Term;
import org.apache.lucene.search.BooleanClause;
import org.apache.lucene.search.BooleanQuery;
import org.apache.lucene.search.BoostQuery;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.TermQuery;
import org.apache.lucene.store.Directory;
import org.apache.lucene.store.FSDirectory;

/** An impact index: a document scores the sum of query weight * impact, a batch a call. */
public final class Impacts implements Closeable {
  public final Documents documents;
  private final Retrieval retrieval;
  private final ImpactTerms terms;

  public Impacts(String path) throws IOException {
    retrieval = new Retrieval(path, new ImpactSimilarity());
    documents = retrieval.documents;
    terms = new ImpactTerms(retrieval.searcher);
  }

  /** Returns what {@link ImpactWriter#commit} was given, or null for an index that others made. */
  public static String userData(String path) throws IOException {
    try (Directory directory = FSDirectory.open(Path.of(path))) {
      return SegmentInfos.readLatestCommit(directory).getUserData().get(ImpactWriter.USER_DATA);
    }
  }

  /**
   * Searches for each query.
   *
   * @param counts number of tokens of each query, int32
   * @param tokens of all queries, strings
   * @param weights of all tokens, float32
   * @param minIdf tokens whose ln(N / df) is not above this are left out; NaN leaves none out
   * @param adjust round scores and tell ties apart as Anserini does
   * @return {@link Bytes#of(Hits[])}
   */
  public byte[] search(
      byte[] counts,
      byte[] tokens,
      byte[] weights,
      double minIdf,
      int k,
      int threads,
      boolean adjust)
      throws IOException {
    return Bytes.of(hits(counts, tokens, weights, minIdf, k, threads, adjust));
  }

  /** Does the same with {@link Bytes#numbers}. */
  public byte[] numbers(
      byte[] counts,
      byte[] tokens,
      byte[] weights,
      double minIdf,
      int k,
      int threads,
      boolean adjust)
      throws IOException {
    return Bytes.numbers(hits(counts, tokens, weights, minIdf, k, threads, adjust));
  }

  private Hits[] hits(
      byte[] counts,
      byte[] tokens,
      byte[] weights,
      double minIdf,
      int k,
      int threads,
      boolean adjust)
      throws IOException {
    Batch batch = new Batch(counts, tokens, weights, minIdf);
    int most = Math.min(k, documents.maxDoc());
    Retrieval.Finder finder = number -> most < 1 ? Hits.NONE : batch.search(number, most);
    return retrieval.search(batch.starts.length - 1, finder, threads, adjust);
  }

  /** Scores given documents, see {@link Retrieval#score}. */
  public byte[] score(
      byte[] counts,
      byte[] tokens,
      byte[] weights,
      double minIdf,
      byte[] docidCounts,
      byte[] docids,
      int threads)
      throws IOException {
    Batch batch = new Batch(counts, tokens, weights, minIdf);
    return retrieval.score(batch.starts.length - 1, batch, docidCounts, docids, threads);
  }

  /** Returns the impacts of documents, see {@link DocumentImpacts#read}. */
  public byte[] vectors(byte[] docids) throws IOException {
    return DocumentImpacts.read(documents, Bytes.strings(docids));
  }

  @Override
  public void close() throws IOException {
    retrieval.close();
  }

  private final class Batch implements Retrieval.Queries {
    final int[] starts;
    private final String[] tokens;
    private final float[] weights;
    private final double minIdf;

    Batch(byte[] counts, byte[] tokens, byte[] weights, double minIdf) {
      starts = Retrieval.starts(Bytes.ints(counts));
      this.tokens = Bytes.strings(tokens);
      this.weights = Bytes.floats(weights);
      this.minIdf = minIdf;
    }

    /** Returns the best k documents. */
    Hits search(int number, int k) throws IOException {
      check(number);
      int most = starts[number + 1] - starts[number];
      ImpactTerms.Entry[] entries = new ImpactTerms.Entry[most];
      float[] factors = new float[most];
      int count = 0;
      for (int i = starts[number]; i < starts[number + 1]; i++) {
        ImpactTerms.Entry entry = terms.get(tokens[i]);
        if (wanted(entry)) {
          entries[count] = entry;
          factors[count++] = weights[i];
        }
      }
      BestScores best = new BestScores(k);
      new MaxScore(terms, best)
          .search(documents.reader.leaves(), Arrays.copyOf(entries, count), factors);
      return Ranking.ranked(documents, best, k);
    }

    @Override
    public Query get(int number) throws IOException {
      check(number);
      BooleanQuery.Builder query = new BooleanQuery.Builder();
      for (int i = starts[number]; i < starts[number + 1]; i++) {
        if (wanted(terms.get(tokens[i]))) {
          Query term = new TermQuery(new Term(Constants.CONTENTS, tokens[i]));
          query.add(new BoostQuery(term, weights[i]), BooleanClause.Occur.SHOULD);
        }
      }
      return query.build();
    }

    private void check(int number) {
      int count = starts[number + 1] - starts[number];
      if (count > IndexSearcher.getMaxClauseCount()) {
        throw new IllegalArgumentException(
            String.format(
                "query %d of the batch has %d tokens (%s …); Lucene's limit is %d. Keep those of"
                    + " the largest weights",
                number + 1,
                count,
                SparseJson.shown(tokens[starts[number]]),
                IndexSearcher.getMaxClauseCount()));
      }
    }

    private boolean wanted(ImpactTerms.Entry entry) {
      int df = entry.documents;
      return df > 0
          && (Double.isNaN(minIdf) || Math.log((double) documents.numDocs() / df) > minIdf);
    }
  }
}
