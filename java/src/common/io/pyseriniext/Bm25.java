package io.pyseriniext;

import io.anserini.index.Constants;
import io.anserini.index.IndexCollection;
import io.anserini.search.SimpleSearcher;
import io.anserini.search.query.BagOfWordsQueryGenerator;
import java.io.Closeable;
import java.io.IOException;
import org.apache.lucene.analysis.Analyzer;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.similarities.BM25Similarity;

/** BM25 as Anserini's {@code SimpleSearcher} computes it, a batch of queries a call. */
public final class Bm25 implements Closeable {
  public final Documents documents;
  private final Retrieval retrieval;
  private final Analyzer analyzer;

  public Bm25(String path, float k1, float b, String language) throws IOException {
    analyzer = analyzer(language);
    retrieval = new Retrieval(path, new BM25Similarity(k1, b));
    documents = retrieval.documents;
  }

  /**
   * Searches for each query.
   *
   * @param queries strings as {@link Bytes#strings} reads them
   * @param adjust round scores and tell ties apart as Anserini does
   * @return {@link Bytes#of(Hits[])}
   */
  public byte[] search(byte[] queries, int k, int threads, boolean adjust) throws IOException {
    return Bytes.of(hits(queries, k, threads, adjust));
  }

  /** Does the same with {@link Bytes#numbers}. */
  public byte[] numbers(byte[] queries, int k, int threads, boolean adjust) throws IOException {
    return Bytes.numbers(hits(queries, k, threads, adjust));
  }

  private Hits[] hits(byte[] queries, int k, int threads, boolean adjust) throws IOException {
    String[] texts = Bytes.strings(queries);
    return retrieval.search(texts.length, i -> query(texts[i]), k, threads, adjust);
  }

  /** Scores given documents, see {@link Retrieval#score}. */
  public byte[] score(byte[] queries, byte[] counts, byte[] docids, int threads)
      throws IOException {
    String[] texts = Bytes.strings(queries);
    return retrieval.score(texts.length, i -> query(texts[i]), counts, docids, threads);
  }

  @Override
  public void close() throws IOException {
    retrieval.close();
  }

  private Query query(String text) {
    try {
      return new BagOfWordsQueryGenerator().buildQuery(Constants.CONTENTS, analyzer, text);
    } catch (IndexSearcher.TooManyClauses error) {
      throw new IllegalArgumentException(
          String.format(
              "the query \"%.60s…\" has more than %d different terms, which is Lucene's limit;"
                  + " shorten it",
              text, IndexSearcher.getMaxClauseCount()));
    }
  }

  private static Analyzer analyzer(String language) {
    if (language.equals("en")) {
      return IndexCollection.DEFAULT_ANALYZER;
    }
    // The table from language to analyzer is a method of the searcher, which needs no index here.
    SimpleSearcher table = new SimpleSearcher() {};
    table.set_analyzer(null);
    table.set_language(language);
    if (table.get_analyzer() == null) {
      throw new IllegalArgumentException("Anserini has no analyzer for language \"" + language + "\"");
    }
    return table.get_analyzer();
  }
}
