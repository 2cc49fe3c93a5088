package io.pyseriniext;

import io.anserini.rerank.RerankerContext;
import io.anserini.rerank.lib.ScoreTiesAdjusterReranker;
import io.anserini.search.ScoredDocs;
import io.anserini.search.SearchCollection;
import java.io.Closeable;
import java.io.IOException;
import java.util.Arrays;
import org.apache.lucene.document.Document;
import org.apache.lucene.search.IndexSearcher;
import org.apache.lucene.search.Query;
import org.apache.lucene.search.similarities.Similarity;

/** Searching and scoring for a batch of queries, whatever they are made from. */
final class Retrieval implements Closeable {
  /** Makes the Lucene query of each query of a batch, on any thread. */
  interface Queries {
    Query get(int number) throws IOException;
  }

  /** Finds the hits of each query of a batch, on any thread. */
  interface Finder {
    Hits get(int number) throws IOException;
  }

  final Documents documents;
  final IndexSearcher searcher;
  private final SearchCollection.Args defaults = new SearchCollection.Args();

  Retrieval(String path, Similarity similarity) throws IOException {
    documents = new Documents(path);
    searcher = new IndexSearcher(documents.reader);
    searcher.setSimilarity(similarity);
  }

  /** Returns the hits of each query; scores as Anserini rounds them and tells ties apart, or not. */
  Hits[] search(int count, Queries queries, int k, int threads, boolean adjust)
      throws IOException {
    Finder finder = i -> Ranking.top(searcher, documents, queries.get(i), k);
    return search(count, finder, threads, adjust);
  }

  /** Does the same where the hits of a query are found otherwise. */
  Hits[] search(int count, Finder finder, int threads, boolean adjust) throws IOException {
    Hits[] batch = new Hits[count];
    Parallel.forEach(
        count,
        threads,
        i -> {
          batch[i] = finder.get(i);
          if (adjust) {
            adjust(batch[i].scores);
          }
        });
    return batch;
  }

  /**
   * Scores given documents.
   *
   * @param counts how many of the docids belong to each query, int32
   * @param docids strings
   * @return float32 scores, 0 for a document that holds no term of the query, NaN for one that is
   *     not in the index
   */
  byte[] score(int count, Queries queries, byte[] counts, byte[] docids, int threads)
      throws IOException {
    int[] docs = documents.numbers(Bytes.strings(docids));
    int[] starts = starts(Bytes.ints(counts));
    float[] scores = new float[docs.length];
    Parallel.forEach(
        count,
        threads,
        i -> {
          int[] own = Arrays.copyOfRange(docs, starts[i], starts[i + 1]);
          float[] found = Ranking.scores(searcher, queries.get(i), own);
          System.arraycopy(found, 0, scores, starts[i], found.length);
        });
    return Bytes.of(scores);
  }

  /** Returns where the items of each query start, and where the last ones end. */
  static int[] starts(int[] counts) {
    int[] starts = new int[counts.length + 1];
    for (int i = 0; i < counts.length; i++) {
      starts[i + 1] = starts[i] + counts[i];
    }
    return starts;
  }

  private void adjust(float[] scores) throws IOException {
    ScoredDocs docs = new ScoredDocs();
    docs.scores = scores;
    docs.lucene_documents = new Document[scores.length]; // only their number is read
    new ScoreTiesAdjusterReranker<String>()
        .rerank(
            docs, new RerankerContext<>(searcher, null, null, null, null, null, null, defaults));
  }

  @Override
  public void close() throws IOException {
    documents.close();
  }
}
