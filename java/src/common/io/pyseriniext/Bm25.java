package io.pyseriniext;

import io.anserini.index.Constants;
import io.anserini.index.IndexCollection;
import io.anserini.rerank.RerankerContext;
import io.anserini.rerank.lib.ScoreTiesAdjusterReranker;
import io.anserini.search.ScoredDocs;
import io.anserini.search.SearchCollection;
import io.anserini.search.SimpleSearcher;
import io.anserini.search.query.BagOfWordsQueryGenerator;
import java.io.Closeable;
import java.io.IOException;
import java.util.Arrays;
import org.apache.lucene.analysis.Analyzer;
import org.apache.lucene.document.Document;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.similarities.BM25Similarity;

/** BM25 as Anserini's {@code SimpleSearcher} computes it, a batch of queries a call. */
public final class Bm25 implements Closeable {
  public final Documents documents;
  private final IndexSearcher searcher;
  private final Analyzer analyzer;
  private final SearchCollection.Args defaults = new SearchCollection.Args();

  public Bm25(String path, float k1, float b, String language) throws IOException {
    analyzer = analyzer(language);
    documents = new Documents(path);
    searcher = new IndexSearcher(documents.reader);
    searcher.setSimilarity(new BM25Similarity(k1, b));
  }

  /**
   * Searches for each query.
   *
   * @param queries strings as {@link Bytes#strings} reads them
   * @param adjust round scores and tell ties apart as Anserini does
   * @return {@link Bytes#of(Hits[])}
   */
  public byte[] search(byte[] queries, int k, int threads, boolean adjust) throws IOException {
    String[] texts = Bytes.strings(queries);
    Hits[] batch = new Hits[texts.length];
    Parallel.forEach(
        texts.length,
        threads,
        i -> {
          Query query = query(texts[i]);
          batch[i] = Ranking.top(searcher, documents, query, k);
          if (adjust) {
            adjust(batch[i].scores, query, texts[i]);
          }
        });
    return Bytes.of(batch);
  }

  /**
   * Scores given documents.
   *
   * @param queries strings as {@link Bytes#strings} reads them
   * @param counts how many of the docids belong to each query, int32
   * @param docids strings
   * @return float32 scores, 0 for a document that holds no term of the query, NaN for one that is
   *     not in the index
   */
  public byte[] score(byte[] queries, byte[] counts, byte[] docids, int threads)
      throws IOException {
    String[] texts = Bytes.strings(queries);
    int[] docs = documents.numbers(Bytes.strings(docids));
    int[] starts = Bytes.ints(counts);
    for (int i = 0, start = 0; i < starts.length; i++) {
      int count = starts[i];
      starts[i] = start;
      start += count;
    }
    float[] scores = new float[docs.length];
    Parallel.forEach(
        texts.length,
        threads,
        i -> {
          int end = i + 1 < starts.length ? starts[i + 1] : docs.length;
          int[] own = Arrays.copyOfRange(docs, starts[i], end);
          float[] found = Ranking.scores(searcher, query(texts[i]), own);
          System.arraycopy(found, 0, scores, starts[i], found.length);
        });
    return Bytes.of(scores);
  }

  @Override
  public void close() throws IOException {
    documents.close();
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

  private void adjust(float[] scores, Query query, String text) throws IOException {
    ScoredDocs docs = new ScoredDocs();
    docs.scores = scores;
    docs.lucene_documents = new Document[scores.length]; // only their number is read
    new ScoreTiesAdjusterReranker<String>()
        .rerank(
            docs, new RerankerContext<>(searcher, null, query, null, text, null, null, defaults));
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
